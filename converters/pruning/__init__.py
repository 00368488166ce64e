"""Making a Hugging Face checkpoint smaller by leaving parts of it out. Needs torch and transformers (extra `convert`).

    depth.py     whole blocks, by how little they change what goes through them
    width.py     channels of the MLPs, by how much they contribute
    sparsity.py  two of every four weights, by their size

What is left is an ordinary checkpoint, made to be trained again: the loss in quality is large and is measured.
"""
