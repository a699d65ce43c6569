using Iced.Intel;
using Ringfence.Machine.Tests;

namespace Ringfence.Debugging.Tests;

/// <summary>64-bit code of a guest, with the addresses of places in it. It runs with the first 4 GiB mapped to themselves.</summary>
internal sealed class GuestCode : IDisposable
{
    public const ulong Start = 0x10_0078;
    /// <summary>Memory that the guest may use: zeroes.</summary>
    public const uint Data = 0x10_8000;
    public const uint StackTop = 0x10_C000;

    private readonly Dictionary<string, ulong> _places = [];

    public GuestCode(Action<Writer> write)
    {
        Writer writer = new();
        write(writer);
        using MemoryStream stream = new();
        AssemblerResult result = writer.Assemble(new StreamCodeWriter(stream), Start, BlockEncoderOptions.ReturnNewInstructionOffsets);
        foreach ((string name, Label label) in writer.Places)
        {
            _places[name] = result.GetLabelRIP(label);
        }
        byte[] code = stream.ToArray();
        Image = GuestImage.LongMode(a => a.db(code));
    }

    public GuestImage Image { get; }

    public ulong this[string place] => _places[place];

    public void Dispose() => Image.Dispose();

    internal sealed class Writer() : Assembler(64)
    {
        public Dictionary<string, Label> Places { get; } = [];

        /// <summary>Names the next instruction.</summary>
        public void Place(string name)
        {
            Label label = CreateLabel(name);
            Place(name, ref label);
        }

        /// <summary>Names the next instruction, to which a label leads: there can be one label only.</summary>
        public void Place(string name, ref Label label)
        {
            Label(ref label);
            Places[name] = label;
        }

        /// <summary>Ends the machine with exit code (value &lt;&lt; 1) | 1.</summary>
        public void Exit(sbyte value)
        {
            mov(AssemblerRegisters.al, value);
            @out(unchecked((byte)GuestImage.DebugExitPort), AssemblerRegisters.al);
        }

        /// <summary>An IDT at <see cref="Data"/> + 0x2000 whose gate for a vector leads to a label. Clobbers RAX, RDX and RDI.</summary>
        public void Gate(int vector, Label handler)
        {
            const uint Table = Data + 0x2000;
            lea(AssemblerRegisters.rax, AssemblerRegisters.__[handler]);
            mov(AssemblerRegisters.edi, Table + ((uint)vector * 16));
            mov(AssemblerRegisters.__word_ptr[AssemblerRegisters.rdi], AssemblerRegisters.ax);
            mov(AssemblerRegisters.edx, AssemblerRegisters.cs);
            mov(AssemblerRegisters.__word_ptr[AssemblerRegisters.rdi + 2], AssemblerRegisters.dx);
            mov(AssemblerRegisters.__word_ptr[AssemblerRegisters.rdi + 4], 0x8E00);
            shr(AssemblerRegisters.rax, 16);
            mov(AssemblerRegisters.__dword_ptr[AssemblerRegisters.rdi + 6], AssemblerRegisters.eax);
            mov(AssemblerRegisters.edi, Data + 0x1FF0);
            mov(AssemblerRegisters.__word_ptr[AssemblerRegisters.rdi], 0xFFF);
            mov(AssemblerRegisters.__qword_ptr[AssemblerRegisters.rdi + 2], (int)Table);
            lidt(AssemblerRegisters.__[AssemblerRegisters.rdi]);
        }
    }
}
