"""detectron2 0.5's model zoo as a table of facts, and what each of its configs comes to here.

The tests, `make zoo` and the docs' coverage table use it. The product does not: it reads detectron2's own files.
"""
