"""What a sweep costs beside its trials."""
