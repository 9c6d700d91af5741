"""What tests share: model files, a hub, servers, terminals, and runners with known answers."""
