"""Fine-tuning: what a pretrained model is worth to tasks that come with labels."""
