"""Training of the shipped detector and recogniser; the runtime never imports it."""
