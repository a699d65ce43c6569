using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using Ringfence.Cpu.Memory;
using Ringfence.Host;

namespace Ringfence.Cpu.Interpreter;

/// <summary>
/// Which pages of one machine hold code that some processor has decoded, and how the processors tell each other. Each keeps blocks of its
/// own; here they agree on two things. Before a processor decodes a page for the first time, all others have given up writing to it
/// unnoticed (<see cref="Acquire"/> waits for that). And when one has written to such a page, the others drop what they decoded
/// from it before their next block (<see cref="Written"/>).
/// </summary>
public sealed class SharedCode
{
    private readonly int[] _holders;
    private Processor[] _processors = [];

    public SharedCode(GuestMemory memory)
    {
        _holders = new int[memory.Size / GuestMemory.PageSize];
        Dirty = new DirtyPages(_holders.Length);
    }

    /// <summary>Which pages were written, while someone wants to know.</summary>
    internal DirtyPages Dirty { get; }

    /// <summary>A page of RAM is written, or may be from now on. Any thread.</summary>
    internal void NoteDirty(ulong physical)
    {
        if (Dirty.IsOn)
        {
            Dirty.Note(PageIndex(physical));
        }
    }

    internal ExclusiveSection Exclusive { get; } = new();

    /// <summary>The processors of the machine.</summary>
    internal ReadOnlySpan<Processor> Processors => _processors;

    /// <summary>The number of a physical page among the pages of RAM, or -1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal int PageIndex(ulong physical)
    {
        if (physical >= GuestMemory.HighBase)
        {
            physical -= GuestMemory.HighBase - GuestMemory.LowLimit;
        }
        else if (physical >= GuestMemory.LowLimit)
        {
            return -1;
        }
        ulong index = physical / GuestMemory.PageSize;
        return index < (ulong)_holders.Length ? (int)index : -1;
    }

    internal int Pages => _holders.Length;

    /// <summary>Before any of them runs.</summary>
    internal void Join(Processor processor) => _processors = [.. _processors, processor];

    internal bool Holds(int page) => Volatile.Read(ref _holders[page]) != 0;

    /// <summary>A processor is about to decode its first block of a page. On return no other can write to the page unnoticed.</summary>
    internal void Acquire(Processor self, int page, ulong physical)
    {
        Interlocked.Increment(ref _holders[page]);
        foreach (Processor other in _processors)
        {
            if (other != self)
            {
                other.CodeRequests.PostAndWait(new CodeRequest(page, physical, 0), self.CodeRequests);
            }
        }
    }

    /// <summary>A processor has no blocks of a page any more.</summary>
    internal void Release(int page) => Interlocked.Decrement(ref _holders[page]);

    /// <summary>A device has written to RAM: all processors drop what they decoded from it before their next block. Any thread.</summary>
    public void WrittenByDevice(ulong address, ulong length)
    {
        // What was written comes before the question whether someone holds the page.
        Interlocked.MemoryBarrier();
        while (length != 0)
        {
            ulong part = Math.Min(length, GuestMemory.PageSize - (address % GuestMemory.PageSize));
            int page = PageIndex(address);
            Dirty.Note(page);
            if (page >= 0 && Holds(page))
            {
                foreach (Processor processor in _processors)
                {
                    processor.CodeRequests.Post(new CodeRequest(page, address, (int)part));
                }
            }
            address += part;
            length -= part;
        }
    }

    /// <summary>From here on pages that processors and devices write are noted. Only while no processor runs.</summary>
    public void StartDirtyLog()
    {
        Dirty.Start();
        ForgetTranslations();
    }

    /// <summary>The pages written since the start or since this was asked last, one bit each, for each region. Only while no processor runs.</summary>
    /// <exception cref="InvalidOperationException">There is no log.</exception>
    public IReadOnlyList<ulong[]> CollectDirtyPages(IReadOnlyList<MemoryRegion> regions)
    {
        if (!Dirty.IsOn)
        {
            throw new InvalidOperationException("there is no dirty log: it has not been started");
        }
        ulong[][] all = [.. regions.Select(CollectDirtyPages)];
        ForgetTranslations();
        return all;
    }

    /// <summary>Only while no processor runs.</summary>
    public void StopDirtyLog()
    {
        Dirty.Stop();
        ForgetTranslations();
    }

    private ulong[] CollectDirtyPages(MemoryRegion region)
    {
        ulong pages = region.Length / GuestMemory.PageSize;
        ulong[] bitmap = new ulong[(pages + 63) / 64];
        int first = PageIndex(region.Address);
        for (int i = 0; i < (int)pages; i++)
        {
            bitmap[i >> 6] |= Dirty.Take(first + i) ? 1UL << (i & 63) : 0;
        }
        return bitmap;
    }

    /// <summary>What was written before is to be noticed again.</summary>
    private void ForgetTranslations()
    {
        foreach (Processor processor in _processors)
        {
            processor.Mmu.FlushAll();
        }
    }

    /// <summary>A processor has written to a page that is held.</summary>
    internal void Written(Processor self, int page, ulong physical, int size)
    {
        foreach (Processor other in _processors)
        {
            if (other != self)
            {
                other.CodeRequests.Post(new CodeRequest(page, physical, size));
            }
        }
    }
}

/// <param name="Size">Bytes written, or 0: give up writing to the page unnoticed.</param>
internal readonly record struct CodeRequest(int Page, ulong Physical, int Size);

/// <summary>What other processors ask of one about decoded code. It serves the requests between blocks, and before it enters guest code.</summary>
internal sealed class CodeRequestQueue(Processor owner, ExclusiveSection exclusive)
{
    private readonly ConcurrentQueue<CodeRequest> _queue = new();
    private readonly Lock _lock = new();
    private long _posted;
    private long _served;
    private bool _inGuest;
    private bool _aside;

    /// <summary>The owner runs no guest code: it is outside, or waits in <see cref="StandAside"/>.</summary>
    public bool IsAside => !Volatile.Read(ref _inGuest) || Volatile.Read(ref _aside);

    /// <summary>How many were served. Only the owner changes it.</summary>
    public long Served => Volatile.Read(ref _served);

    /// <summary>From here on requests are served between blocks. Only the owner.</summary>
    public void EnterGuest()
    {
        Volatile.Write(ref _inGuest, true);
        Interlocked.MemoryBarrier();
        Serve();
    }

    public void LeaveGuest() => Volatile.Write(ref _inGuest, false);

    public void Post(in CodeRequest request)
    {
        Enqueue(request);
        owner.RaiseQuietly(Attentions.Code);
    }

    /// <summary>Posts, and waits until it is served or its owner is not in guest code, which it does not enter without serving it.
    /// Meanwhile <paramref name="mine"/> are served: two may wait for each other.</summary>
    public void PostAndWait(in CodeRequest request, CodeRequestQueue mine)
    {
        long ticket = Enqueue(request);
        owner.RaiseQuietly(Attentions.Code);
        Interlocked.MemoryBarrier();
        SpinWait spin = new();
        while (Volatile.Read(ref _inGuest) && Volatile.Read(ref _served) < ticket)
        {
            mine.Serve();
            spin.SpinOnce();
        }
    }

    /// <summary>Serves what is asked, and stands aside while another processor wants to be alone. Only the owner, between instructions.</summary>
    public void Serve()
    {
        while (_queue.TryDequeue(out CodeRequest request))
        {
            owner.Blocks.ServeRequest(request);
            Interlocked.Increment(ref _served);
        }
        while (exclusive.IsHeld)
        {
            StandAside();
        }
    }

    /// <summary>Waits until the section is free, known to run no guest code. Only the owner.</summary>
    public void StandAside()
    {
        Volatile.Write(ref _aside, true);
        Interlocked.MemoryBarrier();
        exclusive.AwaitEnd();
        Volatile.Write(ref _aside, false);
        // Whoever enters from here on sees that, or is seen by the caller, who looks again.
        Interlocked.MemoryBarrier();
    }

    /// <summary>Returns how many will have been served once this one is.</summary>
    private long Enqueue(in CodeRequest request)
    {
        lock (_lock)
        {
            _queue.Enqueue(request);
            return ++_posted;
        }
    }
}
