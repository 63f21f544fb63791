"""Words to pixels: what each pixel of a picture shows, of the labels that are given."""
