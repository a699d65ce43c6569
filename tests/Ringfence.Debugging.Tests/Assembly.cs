// Machines with four processors, and time that is looked at: one at a time.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
