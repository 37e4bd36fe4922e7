"""Teacher training on English relevance: a retriever that has been shown to retrieve, for the distillation to learn from.

recipe    TeacherRecipe: everything that determines a number
model     the encoder before training: with a projection to be trained, and as it is
worker    the training of one data-parallel worker
verdict   what it reached against zero-shot and TF-IDF, and whether it may teach
teach     every stage on one machine, from sources to the teacher's folder. READ THIS FIRST
"""
