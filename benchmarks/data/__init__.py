"""Building a corpus and streaming it: speed, start-up and memory, side by side with what people use."""
