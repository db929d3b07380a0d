"""Meta-learning with parameter-efficient adapters (PEFT-ML, the paper's eq. 5) for torch and transformers models."""
