// Guests that run on the host's processor take it from each other.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
