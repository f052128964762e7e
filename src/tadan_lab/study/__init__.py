"""The study of decoding orders: context models trained on frozen latents, compared by nothing but their rate."""
