"""Changes that another scanner, position or child would make: what keeps a network from learning one hospital's habits.

Every function takes and returns a batch, float32, shape (n, height, width, channels), 0 to 255, and draws anew for
each image. They run inside a tf.data pipeline on the CPU.
"""

from typing import Any


def augment(batch: Any) -> Any:
    """All of the changes, in the order in which the world makes them: position, beam, film, optics, noise, cover."""
    for change in (move, shade, expose, blur, add_noise, erase):
        batch = change(batch)
    return batch


def move(batch: Any) -> Any:
    """Rotate by up to 12 degrees, shear by 0.1, zoom each axis apart by 0.8 to 1.25, shift by 8 %, mirror one in two.

    Zooming the axes apart hides the proportions of the original, which differ between the classes of some collections.
    Three in ten stay where they are: when all are moved, images as they come from a scanner lie apart from those that
    the network was fitted to, its logits for them are shifted, and a threshold chosen on them holds for no others.
    """
    import tensorflow as tf

    n, height, width = tf.shape(batch)[0], batch.shape[1], batch.shape[2]
    still = tf.random.uniform([n]) < 0.3

    def draw(most: float) -> Any:
        return tf.where(still, 0.0, tf.random.uniform([n], -most, most))

    angle, shear = draw(0.21), draw(0.1)
    mirror = tf.where(tf.random.uniform([n]) < 0.5, -1.0, 1.0)
    zoom_x = tf.exp(draw(0.22)) * mirror
    zoom_y = tf.exp(draw(0.22))
    cos, sin = tf.cos(angle), tf.sin(angle)
    a, b = cos * zoom_x, (shear * cos - sin) * zoom_y
    c, d = sin * zoom_x, (shear * sin + cos) * zoom_y
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    shift_x = draw(0.08) * width + middle_x - a * middle_x - b * middle_y
    shift_y = draw(0.08) * height + middle_y - c * middle_x - d * middle_y
    nought = tf.zeros([n])
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=batch,
        transforms=tf.stack([a, b, shift_x, c, d, shift_y, nought, nought], axis=1),
        output_shape=tf.constant([height, width]),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )


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
    """Between the image itself and its mean over 3 x 3 or 5 x 5 pixels; one in four is sharpened instead."""
    import tensorflow as tf

    one_each = [tf.shape(batch)[0], 1, 1, 1]
    near = tf.nn.avg_pool2d(batch, 3, 1, "SAME")
    far = tf.nn.avg_pool2d(near, 3, 1, "SAME")
    soft = tf.where(tf.random.uniform(one_each) < 0.5, near, far)
    return tf.clip_by_value(batch + tf.random.uniform(one_each, -0.3, 0.9) * (soft - batch), 0.0, 255.0)


def add_noise(batch: Any) -> Any:
    """Gaussian noise with a deviation of up to 12 of 255."""
    import tensorflow as tf

    deviation = tf.random.uniform([tf.shape(batch)[0], 1, 1, 1], 0.0, 12.0)
    return tf.clip_by_value(batch + tf.random.normal(tf.shape(batch)) * deviation, 0.0, 255.0)


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

    n, height, width = tf.shape(batch)[0], batch.shape[1], batch.shape[2]
    angle = tf.random.uniform([n], -0.349, 0.349)
    shear = tf.random.uniform([n], -0.2, 0.2)
    zoom_x = tf.random.uniform([n], 0.8, 1.2) * tf.where(tf.random.uniform([n]) < 0.5, -1.0, 1.0)
    zoom_y = tf.random.uniform([n], 0.8, 1.2)
    cos, sin = tf.cos(angle), tf.sin(angle)
    a, b = cos * zoom_x, (shear * cos - sin) * zoom_y
    c, d = sin * zoom_x, (shear * sin + cos) * zoom_y
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    shift_x = middle_x - a * middle_x - b * middle_y
    shift_y = middle_y - c * middle_x - d * middle_y
    nought = tf.zeros([n])
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=batch,
        transforms=tf.stack([a, b, shift_x, c, d, shift_y, nought, nought], axis=1),
        output_shape=tf.constant([height, width]),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
