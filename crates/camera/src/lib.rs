//! The camera: sensor, image pipeline, queue and uploader.
