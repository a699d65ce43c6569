using System.Runtime.InteropServices;
using Ringfence.Cpu.Interpreter;

namespace Ringfence.Cpu.Translator;

/// <summary>Ops that translated code goes out to. They stay where they are until all are taken back.</summary>
internal sealed unsafe class OpArena : IDisposable
{
    private const int ChunkOps = 4096;

    private readonly List<nint> _chunks = [];
    private int _used = ChunkOps;

    ~OpArena() => Free();

    public Op* New(int count = 1)
    {
        if (_used + count > ChunkOps)
        {
            _chunks.Add((nint)NativeMemory.Alloc(ChunkOps, (nuint)sizeof(Op)));
            _used = 0;
        }
        Op* op = (Op*)_chunks[^1] + _used;
        _used += count;
        return op;
    }

    public void Clear()
    {
        Free();
        _used = ChunkOps;
    }

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        foreach (nint chunk in _chunks)
        {
            NativeMemory.Free((void*)chunk);
        }
        _chunks.Clear();
    }
}
