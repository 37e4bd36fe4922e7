"""Masked-LM pre-training of the student's encoder: a stage of every trial, and an artifact that trials share (docs/pretraining.md).

prepare     corpus, tokenizer, language set, plan; what the artifact is named by
worker      the training of one data-parallel worker
artifact    the encoder in the store, and what is known of it
"""
