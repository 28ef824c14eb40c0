"""Model versions on disk and in memory: manifest, registry, novelty check, engines."""
