using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Ringfence.Cpu.X87;

/// <summary>
/// The x87 part of a processor (SDM vol. 1, 8.1). Physical registers are at offset 0, 16 bytes each with the significand first, so that
/// MM<i>i</i> is the low 8 bytes of physical register <i>i</i>. A zeroed structure is not a reset one: call <see cref="Initialize"/>.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct X87State
{
    private fixed ulong _registers[16];

    /// <summary>Bit 6 is kept set, bits 7 and 13-15 clear, as the hardware does.</summary>
    public ushort ControlWord;

    /// <summary>TOP is bits 11-13; ES and B are kept up to date.</summary>
    public ushort StatusWord;

    /// <summary>The abridged tag word of FXSAVE: bit <i>i</i> is set where physical register <i>i</i> is not empty.</summary>
    public byte Tags;

    /// <summary>FOP: the low three bits of the first opcode byte and the second byte, of the last non-control instruction. 11 bits.</summary>
    public ushort Opcode;

    public ushort InstructionSelector;
    public ushort DataSelector;
    public ulong InstructionPointer;
    public ulong DataPointer;

    /// <summary>The physical register that is ST(0), 0 to 7.</summary>
    public int Top
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        readonly get => (StatusWord >> X87Status.TopShift) & 7;
        set => StatusWord = (ushort)((StatusWord & ~X87Status.TopMask) | (uint)((value & 7) << X87Status.TopShift));
    }

    /// <summary>FNINIT: default control word, empty stack, no exceptions, pointers cleared. Register contents stay.</summary>
    public void Initialize()
    {
        ControlWord = X87Control.Initial;
        StatusWord = 0;
        Tags = 0;
        Opcode = 0;
        InstructionSelector = 0;
        DataSelector = 0;
        InstructionPointer = 0;
        DataPointer = 0;
    }

    /// <summary>Makes the control word one that hardware can hold, and ES and B what the masks make of the exception flags.</summary>
    internal void Normalize()
    {
        ControlWord = (ushort)((ControlWord & X87Control.Writable) | 0x40);
        uint status = StatusWord & ~(X87Status.ErrorSummary | X87Status.Busy);
        if ((status & ~(uint)ControlWord & X87Status.Exceptions) != 0)
        {
            status |= X87Status.ErrorSummary | X87Status.Busy;
        }
        StatusWord = (ushort)status;
    }

    /// <summary>Physical register <paramref name="index"/>, 0 to 7.</summary>
    public Float80 GetPhysical(int index) => new(_registers[(index & 7) * 2], (ushort)_registers[((index & 7) * 2) + 1]);

    public void SetPhysical(int index, Float80 value)
    {
        _registers[(index & 7) * 2] = value.Significand;
        _registers[((index & 7) * 2) + 1] = value.SignExponent;
    }

    /// <summary>The two bits per physical register that FSTENV stores: 0 valid, 1 zero, 2 special, 3 empty.</summary>
    public ushort FullTagWord
    {
        get
        {
            uint word = 0;
            for (int i = 7; i >= 0; i--)
            {
                uint tag = 3;
                if ((Tags & (1 << i)) != 0)
                {
                    tag = GetPhysical(i).Class switch { Float80Class.Zero => 1, Float80Class.Normal => 0, _ => 2u };
                }
                word = (word << 2) | tag;
            }
            return (ushort)word;
        }
        set
        {
            int mask = 0;
            for (int i = 0; i < 8; i++)
            {
                if (((value >> (i * 2)) & 3) != 3)
                {
                    mask |= 1 << i;
                }
            }
            Tags = (byte)mask;
        }
    }
}
