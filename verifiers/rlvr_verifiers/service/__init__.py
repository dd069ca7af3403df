"""Verifiers over HTTP: `app.make_app` is the server, `remote.Remote` the verifier that asks it."""
