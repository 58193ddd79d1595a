"""Quality: seam metrics, gradient energy, verification of all outputs."""
