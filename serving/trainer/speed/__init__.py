"""What learning from programs costs, and how much of what they do is learned from: `__main__`.

- `learning`: steps that are learned from, of clients and by what RLlib has
- `memory`: what a program takes more with a client
- `crowd`: what becomes of the steps of many clients at once
- `programs`: a trainer and programs as processes, which these measure
"""
