"""Serves models over HTTP: OpenAI's protocol for completions, and a page to play with.

- `limits`: what a request may ask for at most; `requests`: from a body to settings
- `worker`: a thread that writes the texts of all requests to a model as one batch
- `completion`: a request as it is written; `logprobs`: its tokens, as the protocol names them
- `streaming`: on its way to a client that may be slow or leave
- `scoring`, `next_character`: what else a model can be asked
- `models`: which models there are; each is loaded when it is asked for, and again when it changes
- `training`: the runs and how they train
- `guard`: who may ask; `app`: the addresses; `serving`: the server from start to end
- `page/`: what the browser shows
"""
