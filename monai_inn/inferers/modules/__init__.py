"""What a network answers as ``torch.nn.Module``: for MONAI's configurations and for export."""
