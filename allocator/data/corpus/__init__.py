"""`cola-synthetic`: a bundled corpus of English acceptability judgements, made by a grammar."""

from allocator.data.corpus.generate import Example, Split, generate

__all__ = ["Example", "Split", "generate"]
