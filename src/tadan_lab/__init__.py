"""The laboratory of Tadan: measurements, the study, golden sets. The codec itself never imports it."""
