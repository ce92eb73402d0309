"""What a program under control and its trainer say to each other: no torch, no Ray, no pickle.

`trainer.proto` is the whole of it, and what other languages are made from; `trainer_pb2` and
`trainer_pb2_grpc` are made from it by

    python -m grpc_tools.protoc -Imarlserve/serving/wire=serving/wire \\
        --python_out=. --pyi_out=. --grpc_python_out=. marlserve/serving/wire/trainer.proto

- `arrays`: numpy's arrays as messages, and back
- `steps`: what a fragment of an episode holds, as columns
- `contract`: how much, how old: what a trainer takes, and what a fragment is held to; `seats`: what
  each agent sees and does
- `policy_parts`: a policy file, in parts; `policy_diff`: what changed of one
- `channels`: addresses, tokens, certificates and sizes, of both sides
"""
