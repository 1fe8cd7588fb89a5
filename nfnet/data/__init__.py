"""Image data: sources, augmentation and a restart-exact input pipeline."""
