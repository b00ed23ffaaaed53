"""Picture work with OpenCV: letterbox, crop, codec, drawing."""
