"""From arrays to weights: the pipeline, the loss and the schedule."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trainer.architectures import build
from trainer.augmentation import augment
from trainer.datasets import Dataset

BATCH = 32
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 5e-3
LABEL_SMOOTHING = 0.05


def fit(
    architecture: str, train: Dataset, validation: Dataset, epochs: int, work: Path, seed: int, console: Console
) -> Any:
    """Build the Keras model of an architecture, fit it and return it.

    AdamW (Loshchilov & Hutter, 2019), warm-up over a twentieth of the steps, then a cosine down to zero; each class
    weighs the same however many images it has. A checkpoint is kept in `work` after each epoch: called again with the
    same arguments after it was killed, it goes on with the epoch that was under way.
    """
    import keras

    checkpoint = work / f"{architecture}-{epochs}-{seed}-{train.fingerprint()[:8]}"  # other arguments start afresh
    keras.utils.set_random_seed(seed)
    model = build(architecture)
    steps = epochs * -(-len(train) // BATCH)
    warm_up = max(1, steps // 20)
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-5, steps - warm_up, alpha=0.0, warmup_target=LEARNING_RATE, warmup_steps=warm_up
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY, clipnorm=1.0),
        loss=keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=LABEL_SMOOTHING),
        metrics=[keras.metrics.AUC(from_logits=True, name="auc")],
    )
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    ) as progress:
        model.fit(
            _pipeline(train, seed),
            validation_data=_still(validation),
            epochs=epochs,
            verbose=0,
            shuffle=False,  # the pipeline does
            class_weight=class_weights(train.labels),
            callbacks=[keras.callbacks.BackupAndRestore(checkpoint), _reporter(progress, epochs)],
        )
    return model


def class_weights(labels: NDArray[np.uint8]) -> dict[int, float]:
    """Weights by class number that give both classes the same say and leave the mean weight at 1."""
    counts = np.bincount(labels, minlength=2)
    return {number: len(labels) / (2 * int(count)) for number, count in enumerate(counts)}


def logits(model: Any, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The model's logits of PNEUMONIA, shape (n,), for pixels of shape (n, height, width, channels), 0 to 255."""
    batches = [pixels[start : start + 64].astype(np.float32) for start in range(0, len(pixels), 64)]
    return np.concatenate([np.asarray(model.predict_on_batch(batch)) for batch in batches])[:, 0].astype(np.float64)


def _pipeline(data: Dataset, seed: int) -> Any:
    import tensorflow as tf

    def change(pixels: Any, labels: Any) -> Any:
        return augment(tf.cast(pixels, tf.float32)), labels

    rows = tf.data.Dataset.from_tensor_slices((data.pixels, data.labels[:, np.newaxis].astype(np.float32)))
    rows = rows.shuffle(len(data), seed=seed).batch(BATCH)
    return rows.map(change, num_parallel_calls=tf.data.AUTOTUNE).prefetch(4)


def _still(data: Dataset) -> Any:
    import tensorflow as tf

    rows = tf.data.Dataset.from_tensor_slices((data.pixels, data.labels[:, np.newaxis].astype(np.float32)))
    return rows.batch(64).map(lambda pixels, labels: (tf.cast(pixels, tf.float32), labels))


def _reporter(progress: Progress, epochs: int) -> Any:
    """A Keras callback that moves a bar a step at a time and leaves a line for each epoch."""
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
