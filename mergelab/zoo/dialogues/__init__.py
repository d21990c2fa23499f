"""The dialogue grammar: prompts and replies, and which of them are kept for measuring."""
