"""Process runtime: threads, JIT compilation, memory allocation, temporary folders."""
