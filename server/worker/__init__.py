"""The worker process, one per loaded model, and the server's end of it. Only `worker.main` may load an engine."""
