"""What is asked to rank: encoders of any layout on either side, and the references that no training touches."""
