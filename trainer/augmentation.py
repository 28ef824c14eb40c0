"""Augmentation: changes that another scanner, position or child would cause, against learning one hospital's habits.

Every function takes and returns a batch, float32, shape (n, height, width, channels), 0 to 255, and draws anew for
each image; the first three are for recipes, and take and return `Examples`. They run inside a tf.data pipeline on the
CPU.
"""

from typing import Any

from shared.models.evidence import MIDDLE
from trainer.recipes import Examples


def augment(batch: Examples) -> Examples:
    """All of the changes, in the order in which they really occur: frame, beam, film, optics, noise, file, cover."""
    return batch._replace(pixels=_expose_all(frame(batch.pixels)))


def turn_only(batch: Examples) -> Examples:
    """The usual augmentation of scripts for such images: see `turn`."""
    return batch._replace(pixels=turn(batch.pixels))


def attend_to_middle(batch: Examples) -> Examples:
    """`augment` for pixels whose histogram serving equalizes, with markers, and surroundings that tell nothing.

    A black border or a collimated corner shifts every grey value of an equalized picture, so it is equalized again
    after framing, as serving will. Equalizing depends on the order of grey values alone: doing it a second time gives
    what doing it once on the framed original would.
    """
    batch = recompose(batch._replace(pixels=mark(equalize(frame(batch.pixels)))))
    return batch._replace(pixels=_expose_all(batch.pixels))


def _expose_all(batch: Any) -> Any:
    for change in (shade, expose, blur, add_noise, compress, erase):
        batch = change(batch)
    return batch


def frame(batch: Any) -> Any:
    """Cut up to 18 % off each side or add up to 16 % of black, stretch by some 10 %, turn (5 degrees), shear, mirror.

    What lies inside the picture, and its proportions, are habits of a hospital, and some collections' classes come
    from different ones. Sides that are framed apart from each other are hardly ever all cut, as another hospital's
    are: so all four move alike in a quarter of the images, and those that face each other in another quarter. One in
    ten stays as it is.
    """
    import tensorflow as tf

    n, height, width = tf.shape(batch)[0], batch.shape[1], batch.shape[2]
    still, how = tf.random.uniform([n]) < 0.1, tf.random.uniform([n])

    def draw(least: float, most: float) -> Any:
        return tf.where(still, 0.0, tf.random.uniform([n], least, most))

    left, top, right, bottom = (draw(-0.16, 0.18) for _ in range(4))
    top = tf.where(how < 0.25, left, top)
    right, bottom = tf.where(how < 0.5, left, right), tf.where(how < 0.5, top, bottom)
    stretch = tf.where(still, 1.0, tf.exp(tf.random.normal([n], stddev=0.05)))
    angle, shear = tf.where(still, 0.0, tf.random.normal([n], stddev=0.09)), draw(-0.08, 0.08)
    mirror = tf.where(tf.random.uniform([n]) < 0.5, -1.0, 1.0)
    zoom = (1.0 - left - right) * stretch * mirror, (1.0 - top - bottom) / stretch
    shift = (left - right) / 2 * width, (top - bottom) / 2 * height
    return _warp(batch, angle, shear, zoom, shift, "CONSTANT")


def equalize(batch: Any) -> Any:
    """Equalize the histogram of each image of one channel, to the last bit as `PIL.ImageOps.equalize` does."""
    import tensorflow as tf

    n, height, width = tf.shape(batch)[0], batch.shape[1], batch.shape[2]
    values = tf.reshape(tf.cast(tf.round(tf.clip_by_value(batch, 0.0, 255.0)), tf.int32), [n, height * width])
    bins = tf.reshape(values + 256 * tf.range(n)[:, tf.newaxis], [-1])
    counts = tf.reshape(tf.math.bincount(bins, minlength=256 * n, maxlength=256 * n), [n, 256])
    brightest = tf.argmax(tf.where(counts > 0, tf.range(256), 0), axis=1)
    step = tf.maximum((height * width - tf.gather(counts, brightest, batch_dims=1)) // 255, 1)[:, tf.newaxis]
    below = tf.cumsum(counts, axis=1, exclusive=True)
    table = tf.minimum((below + step // 2) // step, 255)
    return tf.cast(tf.reshape(tf.gather(table, values, batch_dims=1), [n, height, width, 1]), tf.float32)


def mark(batch: Any) -> Any:
    """Draw up to three bright or dark bars, as side markers, letters, electrodes and tubes are, in half of the images.

    Classes come from different wards, whose habits of marking a network would learn.
    """
    import tensorflow as tf

    n, height, width = tf.shape(batch)[0], batch.shape[1], batch.shape[2]
    one_each = [n, 1, 1, 1]
    y = tf.reshape(tf.range(height, dtype=tf.float32), [1, height, 1, 1]) / height
    x = tf.reshape(tf.range(width, dtype=tf.float32), [1, 1, width, 1]) / width
    is_marked = tf.random.uniform(one_each) < 0.5
    for _ in range(3):
        off_y, off_x = y - tf.random.uniform(one_each), x - tf.random.uniform(one_each)
        angle = tf.random.uniform(one_each, 0.0, 3.1416)
        along, across = off_x * tf.cos(angle) + off_y * tf.sin(angle), off_y * tf.cos(angle) - off_x * tf.sin(angle)
        length = tf.exp(tf.random.uniform(one_each, -4.5, -1.2))  # half of it: 0.011 to 0.30 of the side
        inside = (tf.abs(along) < length) & (tf.abs(across) < tf.random.uniform(one_each, 0.004, 0.03))
        grey = tf.where(tf.random.uniform(one_each) < 0.8, tf.random.uniform(one_each, 190.0, 255.0), 0.0)
        batch = tf.where(inside & is_marked & (tf.random.uniform(one_each) < 0.6), grey, batch)
    return batch


def recompose(batch: Examples) -> Examples:
    """Make what surrounds the middle tell nothing: it is exchanged or covered, or the middle is covered instead.

    Of each hundred images 40 get the surroundings of another image of the batch, whose label does not count; 8 keep
    their middle alone; of 22 the middle is covered, and the network should then say that it does not know, by the
    base rate of 0.5 that balanced weights give.
    """
    import tensorflow as tf

    pixels = batch.pixels
    n, height, width = tf.shape(pixels)[0], pixels.shape[1], pixels.shape[2]
    one_each = [n, 1, 1, 1]
    y = (tf.reshape(tf.range(height, dtype=tf.float32), [1, height, 1, 1]) + 0.5) / height
    x = (tf.reshape(tf.range(width, dtype=tf.float32), [1, 1, width, 1]) + 0.5) / width
    how = tf.random.uniform(one_each)
    is_exchanged, is_alone, is_covered = how < 0.40, (how >= 0.40) & (how < 0.48), how >= 0.78

    def moved(side: float, outwards: float) -> Any:
        """A side of the middle, moved a little in half of the images; only outwards where the middle is covered."""
        by = tf.where(is_covered, tf.random.uniform(one_each, 0.0, 0.05), tf.random.uniform(one_each, -0.04, 0.06))
        return side + outwards * tf.where(tf.random.uniform(one_each) < 0.5, by, 0.0)

    top, bottom, left, right = (
        moved(side, outwards) for side, outwards in zip(MIDDLE, (-1.0, 1.0, -1.0, 1.0), strict=True)
    )
    middle = (y > top) & (y < bottom) & (x > left) & (x < right)
    others = tf.gather(pixels, tf.random.shuffle(tf.range(n)))
    share = tf.cast(middle, tf.float32)
    mean = tf.reduce_sum(pixels * share, [1, 2, 3], keepdims=True) / tf.reduce_sum(share, [1, 2, 3], keepdims=True)
    kind = tf.random.uniform(one_each)
    drawn = tf.where(kind < 0.65, 0.0, tf.random.uniform(one_each, 0.0, 255.0))
    grey = tf.where(kind < 0.4, tf.where(tf.random.uniform(one_each) < 0.5, mean, 127.5), drawn)
    pixels = tf.where(is_exchanged & ~middle, others, pixels)
    pixels = tf.where((is_alone & ~middle) | (is_covered & middle), grey, pixels)
    return batch._replace(pixels=pixels, labels=tf.where(is_covered[:, 0, 0], 0.5, batch.labels))


def shade(batch: Any) -> Any:
    """Add a smooth field of up to 35 of 255, as an uneven beam or a turned child leaves it."""
    import tensorflow as tf

    strength = tf.random.uniform([tf.shape(batch)[0], 1, 1, 1], 0.0, 35.0)
    field = tf.random.uniform([tf.shape(batch)[0], 3, 3, 1], -1.0, 1.0)
    field = tf.image.resize(field, [batch.shape[1], batch.shape[2]], method="bilinear")
    return tf.clip_by_value(batch + strength * field, 0.0, 255.0)


def expose(batch: Any) -> Any:
    """Gamma 0.6 to 1.7, contrast 0.7 to 1.3, brightness by up to 30 of 255."""
    import tensorflow as tf

    one_each = [tf.shape(batch)[0], 1, 1, 1]
    gamma = tf.exp(tf.random.uniform(one_each, -0.5, 0.5))
    contrast = tf.random.uniform(one_each, 0.7, 1.3)
    brightness = tf.random.uniform(one_each, -30.0, 30.0)
    batch = 255.0 * tf.pow(tf.clip_by_value(batch / 255.0, 1e-4, 1.0), gamma)
    return tf.clip_by_value((batch - 127.5) * contrast + 127.5 + brightness, 0.0, 255.0)


def blur(batch: Any) -> Any:
    """Between the image itself and its mean over 3 x 3, 5 x 5 or 7 x 7 pixels; one in four is sharpened instead."""
    import tensorflow as tf

    one_each = [tf.shape(batch)[0], 1, 1, 1]
    near = tf.nn.avg_pool2d(batch, 3, 1, "SAME")
    far = tf.nn.avg_pool2d(near, 3, 1, "SAME")
    farther = tf.nn.avg_pool2d(far, 3, 1, "SAME")
    how = tf.random.uniform(one_each)
    soft = tf.where(how < 0.4, near, tf.where(how < 0.8, far, farther))
    return tf.clip_by_value(batch + tf.random.uniform(one_each, -0.35, 1.0) * (soft - batch), 0.0, 255.0)


def add_noise(batch: Any) -> Any:
    """Gaussian noise with a deviation of up to 12 of 255, as fine as pixels, and as much that is twice as coarse."""
    import tensorflow as tf

    n, height, width = tf.shape(batch)[0], batch.shape[1], batch.shape[2]
    fine, coarse = (tf.random.uniform([n, 1, 1, 1], 0.0, 12.0) for _ in range(2))
    batch = batch + fine * tf.random.normal(tf.shape(batch))
    batch = batch + coarse * tf.image.resize(tf.random.normal([n, height // 2, width // 2, 1]), [height, width])
    return tf.clip_by_value(batch, 0.0, 255.0)


def compress(batch: Any) -> Any:
    """Compress as JPEG of quality 15 to 95, in half of the images.

    How much detail a file's compression left differs between collections, and between their classes.
    """
    import tensorflow as tf

    n = tf.shape(batch)[0]

    def squeeze(one: Any) -> Any:
        return tf.image.adjust_jpeg_quality(one[0], one[1])

    files = tf.cast(tf.round(batch), tf.uint8), tf.random.uniform([n], 15, 96, tf.int32)
    squeezed = tf.map_fn(squeeze, files, fn_output_signature=tf.TensorSpec(batch.shape[1:], tf.uint8))
    return tf.where(tf.random.uniform([n, 1, 1, 1]) < 0.5, tf.cast(squeezed, tf.float32), batch)


def erase(batch: Any) -> Any:
    """Fill one rectangle of up to 35 % of each side with one grey, in half of the images (Zhong et al., 2020)."""
    import tensorflow as tf

    n, height, width = tf.shape(batch)[0], batch.shape[1], batch.shape[2]
    one_each = [n, 1, 1, 1]
    y = tf.reshape(tf.range(height, dtype=tf.float32), [1, height, 1, 1]) / height
    x = tf.reshape(tf.range(width, dtype=tf.float32), [1, 1, width, 1]) / width
    half_height, half_width = tf.random.uniform(one_each, 0.03, 0.175), tf.random.uniform(one_each, 0.03, 0.175)
    inside_y = tf.abs(y - tf.random.uniform(one_each)) < half_height
    inside_x = tf.abs(x - tf.random.uniform(one_each)) < half_width
    chosen = tf.random.uniform(one_each) < 0.5
    return tf.where(inside_y & inside_x & chosen, tf.random.uniform(one_each, 0.0, 255.0), batch)


def turn(batch: Any) -> Any:
    """Rotate by up to 20 degrees, shear by 0.2, zoom each axis apart by 0.8 to 1.2, mirror one in two.

    The usual augmentation of scripts for such images: what lies outside is filled with the nearest pixel.
    """
    import tensorflow as tf

    n = tf.shape(batch)[0]
    angle = tf.random.uniform([n], -0.349, 0.349)
    shear = tf.random.uniform([n], -0.2, 0.2)
    mirror = tf.where(tf.random.uniform([n]) < 0.5, -1.0, 1.0)
    zoom = tf.random.uniform([n], 0.8, 1.2) * mirror, tf.random.uniform([n], 0.8, 1.2)
    return _warp(batch, angle, shear, zoom, (tf.zeros([n]), tf.zeros([n])), "NEAREST")


def _warp(batch: Any, angle: Any, shear: Any, zoom: tuple[Any, Any], shift: tuple[Any, Any], outside: str) -> Any:
    """Turn (radians), shear and zoom about the middle, then shift (pixels); each of shape (n,), pairs are x and y."""
    import tensorflow as tf

    n, height, width = tf.shape(batch)[0], batch.shape[1], batch.shape[2]
    cos, sin = tf.cos(angle), tf.sin(angle)
    a, b = cos * zoom[0], (shear * cos - sin) * zoom[1]
    c, d = sin * zoom[0], (shear * sin + cos) * zoom[1]
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    shift_x = shift[0] + middle_x - a * middle_x - b * middle_y
    shift_y = shift[1] + middle_y - c * middle_x - d * middle_y
    nought = tf.zeros([n])
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=batch,
        transforms=tf.stack([a, b, shift_x, c, d, shift_y, nought, nought], axis=1),
        output_shape=tf.constant([height, width]),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode=outside,
    )
