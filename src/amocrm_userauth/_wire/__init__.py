"""What goes over the wire, whichever web framework serves it: bodies, errors and pages of the contract."""
