// Some tests count what the whole process holds, or how much processor time it uses: one at a time.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
