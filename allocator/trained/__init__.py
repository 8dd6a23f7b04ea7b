"""What is done with a trained adapter: answers, exports, model cards."""
