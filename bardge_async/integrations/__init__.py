"""What joins the client to other people's engines, each with an extra of its own."""
