"""Where a study is kept, and what it keeps."""
