"""The tables of docs/performance.md, one module each (``bench.table.Table``)."""
