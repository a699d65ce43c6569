using System.Numerics;
using System.Runtime.InteropServices;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Translator;

/// <summary>One store of translated code: where, how many bytes, what was there before and what is there at the end.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct LoggedStore
{
    public byte* Address;
    public long Bytes;
    public fixed byte Old[64];
    public fixed byte New[64];
}

/// <summary>What translated code stores while it is checked, so that it can be undone: each memory operand that is written is noted before it is.</summary>
internal sealed unsafe class StoreLog : IDisposable
{
    /// <summary>More than a block has instructions, of which none has two.</summary>
    private const int Entries = 256;
    private const int OldOffset = 16;

    private readonly CpuState* _s;
    private readonly int[] _notes = new int[7];
    private LoggedStore* _first;

    public StoreLog(Emitter emitter, CpuState* s)
    {
        _s = s;
        _first = (LoggedStore*)NativeMemory.AllocZeroed(Entries, (nuint)sizeof(LoggedStore));
        for (int sizeLog = 0; sizeLog < _notes.Length; sizeLog++)
        {
            WriteNote(emitter, sizeLog);
        }
    }

    ~StoreLog() => Free();

    public int Count => (int)((LoggedStore*)_s->Translated.Stores - _first);

    /// <summary>Has what lies at the host address in <see cref="Host.Address"/> noted, since it is about to be written. <see cref="Host.Scratch"/> and the
    /// flags are lost.</summary>
    public void Write(Emitter e, int bytes) => e.Transfer(0xE8, _notes[BitOperations.Log2((uint)bytes)]);

    public ref LoggedStore this[int index] => ref _first[index];

    public void Clear() => _s->Translated.Stores = (byte*)_first;

    /// <summary>Puts memory back as it was, and keeps what it had become.</summary>
    public void Undo()
    {
        int count = Count;
        for (int i = 0; i < count; i++)
        {
            new ReadOnlySpan<byte>(_first[i].Address, (int)_first[i].Bytes).CopyTo(new Span<byte>(_first[i].New, 64));
        }
        for (int i = count - 1; i >= 0; i--)
        {
            new ReadOnlySpan<byte>(_first[i].Old, (int)_first[i].Bytes).CopyTo(new Span<byte>(_first[i].Address, (int)_first[i].Bytes));
        }
    }

    /// <summary>Makes memory once more what it had become.</summary>
    public void Redo()
    {
        int count = Count;
        for (int i = 0; i < count; i++)
        {
            new ReadOnlySpan<byte>(_first[i].New, (int)_first[i].Bytes).CopyTo(new Span<byte>(_first[i].Address, (int)_first[i].Bytes));
        }
    }

    /// <summary>Whether memory is as this store and those after it left it.</summary>
    public bool Holds(int index) =>
        new ReadOnlySpan<byte>(_first[index].New, (int)_first[index].Bytes).SequenceEqual(new ReadOnlySpan<byte>(_first[index].Address, (int)_first[index].Bytes));

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void WriteNote(Emitter e, int sizeLog)
    {
        _notes[sizeLog] = e.Position;
        int bytes = 1 << sizeLog;
        e.Push(Host.Rax);
        e.Load(Host.Rax, StateOffsets.Stores);
        e.Memory(true, 0x89, Host.Address, Host.Rax, 0);
        e.Memory(true, 0xC7, 0, Host.Rax, 8);
        e.Int32(bytes);
        for (int at = 0; at < bytes; at += 8)
        {
            // MOVZX of a byte or word, MOV of 32 or 64 bits.
            e.Memory(bytes >= 8, bytes == 1 ? 0x1B6 : bytes == 2 ? 0x1B7 : 0x8B, Host.Scratch, Host.Address, at);
            e.Memory(true, 0x89, Host.Scratch, Host.Rax, OldOffset + at);
        }
        e.StateImmediate(true, 0, StateOffsets.Stores, sizeof(LoggedStore));
        e.Pop(Host.Rax);
        e.Byte(0xC3);
    }

    private void Free()
    {
        NativeMemory.Free(_first);
        _first = null;
    }
}
