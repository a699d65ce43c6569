using System.Runtime.InteropServices;
using Iced.Intel;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;
using Ringfence.Cpu.Vector;
using Ringfence.Cpu.Vector.Vex;

namespace Ringfence.Cpu.Tests.Vector;

/// <summary>A processor state in native memory, one page that guest and host see at the same address, and ops built by hand.</summary>
internal sealed unsafe class Rig : IDisposable
{
    private const int Page = 4096;
    private const byte Untouched = 0xA5;
    private readonly TlbEntry* _tlb;
    private readonly Op* _ops;

    public Rig()
    {
        State = (CpuState*)NativeMemory.AlignedAlloc((nuint)sizeof(CpuState), 64);
        *State = default;
        Buffer = (byte*)NativeMemory.AlignedAlloc(Page, Page);
        new Span<byte>(Buffer, Page).Clear();
        _ops = (Op*)NativeMemory.AlignedAlloc(2 * (nuint)sizeof(Op), 64);
        _tlb = (TlbEntry*)NativeMemory.AlignedAlloc((nuint)(GuestAccess.TlbEntries * sizeof(TlbEntry)), 64);
        for (int i = 0; i < GuestAccess.TlbEntries; i++)
        {
            _tlb[i] = new TlbEntry { Read = ulong.MaxValue, Write = ulong.MaxValue, Execute = ulong.MaxValue };
        }
        TlbEntry* entry = _tlb + (((ulong)Buffer >> 12) & (GuestAccess.TlbEntries - 1));
        *entry = new TlbEntry { Read = (ulong)Buffer, Write = (ulong)Buffer, Execute = ulong.MaxValue };
        State->Tlb = _tlb;
        State->LinearMask = ulong.MaxValue;
        State->Cr4 = 1 << 10;
    }

    public CpuState* State { get; }

    /// <summary>A page, at this address for the guest too.</summary>
    public byte* Buffer { get; }

    public Op* Op => _ops;

    /// <summary>Binds one instruction as the block builder does.</summary>
    public bool Bind(in Instruction instruction)
    {
        *_ops = new Op
        {
            Base = Slots.Zero,
            Index = Slots.Zero,
            Segment = Slots.Zero,
            AddressMask = ulong.MaxValue,
            Displacement = (int)instruction.MemoryDisplacement32,
            Length = (byte)instruction.Length,
        };
        for (int i = 0; i < instruction.OpCount; i++)
        {
            switch (instruction.GetOpKind(i))
            {
                case OpKind.Immediate8:
                    _ops->Immediate = (ulong)(sbyte)instruction.Immediate8;
                    break;
                case OpKind.Memory:
                    _ops->Base = Slots.Of(instruction.MemoryBase);
                    _ops->Index = Slots.Of(instruction.MemoryIndex);
                    _ops->Scale = (byte)int.Log2(instruction.MemoryIndexScale);
                    break;
                case OpKind.Register when i == 0:
                    _ops->Destination = Slots.Of(instruction.GetOpRegister(i));
                    break;
                case OpKind.Register when i == 1:
                    _ops->Source = Slots.Of(instruction.GetOpRegister(i));
                    break;
                default:
                    break;
            }
        }
        _ops[1] = new Op { Handler = &Stop };
        return instruction.Encoding == EncodingKind.VEX ? VexBinder.Bind(instruction, _ops) : VectorBinder.Bind(instruction, _ops);
    }

    /// <summary>Runs the bound instruction; false if it left with a fault.</summary>
    public bool Run()
    {
        State->Event = ExitEvent.None;
        return _ops->Handler(State, _ops) != null;
    }

    public void Load(MachineImage* image)
    {
        for (int i = 0; i < 16; i++)
        {
            Half(image->Ymm + (32 * i)).CopyTo(Half(State->Vectors + (64 * i)));
            Half(State->Vectors + (64 * i) + 32).Fill(Untouched);
            State->Gpr[i] = image->Gpr[i];
        }
        for (int i = 0; i < 8; i++)
        {
            *(ulong*)(X87 + (16 * i)) = image->Mm[i];
        }
        State->Mxcsr = image->Mxcsr;
        Flags.SetArithmetic(State, (uint)image->Flags & 0x8D5);
    }

    public void Store(MachineImage* image)
    {
        for (int i = 0; i < 16; i++)
        {
            Half(State->Vectors + (64 * i)).CopyTo(Half(image->Ymm + (32 * i)));
            image->Gpr[i] = State->Gpr[i];
        }
        for (int i = 0; i < 8; i++)
        {
            image->Mm[i] = *(ulong*)(X87 + (16 * i));
        }
        image->Mxcsr = State->Mxcsr;
        image->Flags = Flags.GetArithmetic(State);
    }

    public byte* X87 => (byte*)&State->X87;

    /// <summary>Whether bits 256 to 511 of a register are all zero, or what <see cref="Load"/> left there.</summary>
    public bool UpperIs(int register, bool zero) => !Half(State->Vectors + (64 * register) + 32).ContainsAnyExcept(zero ? (byte)0 : Untouched);

    public void Dispose()
    {
        NativeMemory.AlignedFree(State);
        NativeMemory.AlignedFree(Buffer);
        NativeMemory.AlignedFree(_ops);
        NativeMemory.AlignedFree(_tlb);
    }

    private static Op* Stop(CpuState* s, Op* o) => o;

    private static Span<byte> Half(byte* p) => new(p, 32);
}
