"""What hosts load by themselves: each module registers its adapter when it is imported."""
