"""How everything in data/ is made: dialogues, tokenizer, base model, adapters, suites.

`python -m mergelab.zoo` rebuilds all of it; see `mergelab.zoo.build`.
"""
