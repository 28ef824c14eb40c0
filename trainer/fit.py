"""From arrays to weights: the pipeline, the loss and the schedule."""

import ctypes
import json
import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trainer.datasets import Dataset
from trainer.recipes import Examples, Recipe

BEST = "best.weights.h5"
HISTORY = "epochs.jsonl"
LOGS = "logs"
WATCHED = "val_loss"
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


@dataclass(frozen=True)
class Run:
    """What is fitted and where its checkpoints lie; called again with the same arguments, a killed run goes on.

    begin: makes the Keras model to start from. work: a folder for this run alone.
    """

    begin: Callable[[], Any]
    recipe: Recipe
    epochs: int
    seed: int
    work: Path
    mixed_precision: bool = False


def fit(run: Run, train: Dataset, validation: Dataset, console: Console) -> Any:
    """Fit the network as its recipe says and return it.

    In `run.work` lie a checkpoint of the last epoch, the figures of each, the weights of the best one where the
    recipe keeps them, and logs for TensorBoard. All GPUs that are there share the work.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras
    import tensorflow as tf

    _keep_freed_memory()
    run.work.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(run.seed)
    gpus = tf.config.list_physical_devices("GPU")
    before = keras.config.dtype_policy()
    if run.mixed_precision:  # on CPUs only bfloat16 is supported
        keras.config.set_dtype_policy("mixed_float16" if gpus else "mixed_bfloat16")
    try:
        with tf.distribute.MirroredStrategy().scope() if len(gpus) > 1 else nullcontext():
            model = run.begin()
            _compile(model, run, len(train))
            _run(model, run, train, validation, console)
    finally:
        keras.config.set_dtype_policy(before)
    return model


def _keep_freed_memory() -> None:
    """Have glibc keep what tensors free instead of giving it back, page by page, before the next step asks for it.

    On CPUs that was a third of a step's time. Elsewhere than on glibc nothing happens.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _compile(model: Any, run: Run, images: int) -> None:
    """AdamW is Loshchilov & Hutter, 2019."""
    import keras

    recipe = run.recipe
    rate: Any = recipe.learning_rate
    if recipe.is_cosine:
        steps = run.epochs * -(-images // recipe.batch)
        warm_up = max(1, steps // 20)
        rate = keras.optimizers.schedules.CosineDecay(
            1e-5, max(1, steps - warm_up), alpha=0.0, warmup_target=recipe.learning_rate, warmup_steps=warm_up
        )
    optimizers = {"adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW, "rmsprop": keras.optimizers.RMSprop}
    decay = {"weight_decay": recipe.weight_decay} if recipe.optimizer == "adamw" else {}
    model.compile(
        optimizer=optimizers[recipe.optimizer](rate, clipnorm=recipe.clip, **decay),
        loss=keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing),
        metrics=[keras.metrics.AUC(from_logits=True, name="auc")],
    )


def _run(model: Any, run: Run, train: Dataset, validation: Dataset, console: Console) -> None:
    import keras

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Two states are kept, so that a write that was cut off costs an epoch and not the run.
    backup = keras.callbacks.BackupAndRestore(run.work / "state", double_checkpoint=True, delete_checkpoint=False)
    values = losses(run.work / HISTORY)
    epochs = len(values) if is_over(values, run.recipe) else run.epochs  # then only the restoring is left
    with Progress(*columns, console=console) as progress:
        model.fit(
            _pipeline(train, run.recipe, run.seed),
            validation_data=_still(validation, run.recipe.batch),
            epochs=epochs,
            verbose=0,
            shuffle=False,  # the pipeline does
            callbacks=[_watch(run), backup, _reporter(progress, run.epochs)],
        )
    if run.recipe.keeps_best and (run.work / BEST).exists():
        model.load_weights(run.work / BEST)


def forget(work: Path) -> None:
    """Remove a run's checkpoints once its network is published; the logs for TensorBoard stay."""
    shutil.rmtree(work / "state", ignore_errors=True)
    for name in (BEST, HISTORY):
        (work / name).unlink(missing_ok=True)


def class_weights(labels: NDArray[np.uint8]) -> dict[int, float]:
    """Weights by class number with which both classes weigh the same and the mean weight is 1."""
    counts = np.bincount(labels, minlength=2)
    return {number: len(labels) / (2 * int(count)) for number, count in enumerate(counts)}


def logits(model: Any, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The model's logits of PNEUMONIA, shape (n,), for pixels of shape (n, height, width, channels), 0 to 255."""
    batches = [pixels[start : start + 64].astype(np.float32) for start in range(0, len(pixels), 64)]
    return np.concatenate([np.asarray(model.predict_on_batch(batch)) for batch in batches])[:, 0].astype(np.float64)


def losses(history: Path) -> list[float]:
    """The watched loss of each epoch that a run has finished; a line that was cut off ends it."""
    values: list[float] = []
    for line in history.read_text().splitlines() if history.exists() else ():
        try:
            values.append(float(json.loads(line)[WATCHED]))
        except ValueError:
            break
    return values


def epochs_since_best(values: list[float]) -> int:
    return len(values) - 1 - int(np.argmin(values)) if values else 0


def is_over(values: list[float], recipe: Recipe) -> bool:
    """Whether patience has run out."""
    return recipe.stop_patience is not None and epochs_since_best(values) >= recipe.stop_patience


def _pipeline(data: Dataset, recipe: Recipe, seed: int) -> Any:
    import tensorflow as tf

    balance = class_weights(data.labels) if recipe.is_balanced else {0: 1.0, 1: 1.0}

    def change(pixels: Any, labels: Any) -> Any:
        batch = Examples(pixels, labels, tf.where(labels > 0.5, balance[1], balance[0]))
        return tuple(recipe.change(batch) if recipe.change else batch)

    rows = _batches(data, tf.data.Dataset.range(len(data)).shuffle(len(data), seed=seed), recipe.batch)
    return rows.map(change, num_parallel_calls=tf.data.AUTOTUNE).prefetch(4)


def _still(data: Dataset, batch: int) -> Any:
    import tensorflow as tf

    return _batches(data, tf.data.Dataset.range(len(data)), batch).prefetch(2)


def _batches(data: Dataset, rows: Any, batch: int) -> Any:
    """Pixels, float32, and labels, shape (n, 1), of the rows; only those of a few batches are in memory at a time."""
    import tensorflow as tf

    shape = data.pixels.shape[1:]
    labels = tf.constant(data.labels[:, np.newaxis].astype(np.float32))

    def gather(chosen: Any) -> Any:
        pixels = tf.ensure_shape(tf.numpy_function(lambda rows: data.pixels[rows], [chosen], tf.uint8), (None, *shape))
        return tf.cast(pixels, tf.float32), tf.gather(labels, chosen)

    return rows.batch(batch).map(gather, num_parallel_calls=tf.data.AUTOTUNE)


def _watch(run: Run) -> Any:
    """A Keras callback that writes each epoch's figures down, and keeps, slows or stops as they and the recipe say.

    Keras has a callback for each of these, but they lose their state when the process is killed; this one reads it
    again.
    """
    import keras
    import tensorflow as tf

    recipe, history = run.recipe, run.work / HISTORY

    class Watch(keras.callbacks.Callback):  # type: ignore[misc]
        writer: Any = None

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.writer = self.writer or tf.summary.create_file_writer(str(run.work / LOGS))
            lines = history.read_text().splitlines() if history.exists() else []
            history.write_text("".join(f"{line}\n" for line in lines[:epoch]))  # later ones are repeated

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            figures = {name: float(value) for name, value in (logs or {}).items()}
            figures["learning_rate"] = float(self.model.optimizer.learning_rate)
            with history.open("a") as file:
                file.write(json.dumps(figures) + "\n")
            with self.writer.as_default():
                for name, value in figures.items():
                    _write_scalar(name, value, epoch + 1)
            self.writer.flush()
            values = losses(history)
            since = epochs_since_best(values)
            if recipe.keeps_best and since == 0:
                aside = run.work / f"aside-{BEST}"
                self.model.save_weights(aside)
                aside.rename(run.work / BEST)
            if recipe.reduce_patience and since and since % recipe.reduce_patience == 0:
                self.model.optimizer.learning_rate = figures["learning_rate"] * recipe.reduce_factor
            self.model.stop_training = is_over(values, recipe)

        def on_train_end(self, logs: Any = None) -> None:
            if self.writer is not None:
                self.writer.close()

    return Watch()


def _write_scalar(name: str, value: float, step: int) -> None:
    """What tf.summary.scalar does, which needs the package tensorboard to be installed, only to write."""
    import tensorflow as tf

    metadata = tf.compat.v1.SummaryMetadata(
        plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"),
        data_class=1,  # DATA_CLASS_SCALAR
    )
    tf.summary.write(name, tf.constant(value, tf.float32), step=step, metadata=metadata)


def _reporter(progress: Progress, epochs: int) -> Any:
    """A Keras callback that moves a progress bar with each step and prints a line for each epoch."""
    import keras

    class Reporter(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            total = self.params.get("steps")
            self.task = progress.add_task(f"epoch {epoch + 1} of {epochs}", total=total)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            progress.advance(self.task)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            progress.remove_task(self.task)
            figures = ", ".join(f"{name} {value:.4f}" for name, value in (logs or {}).items())
            progress.console.print(f"epoch {epoch + 1} of {epochs}: {figures}")

    return Reporter()
