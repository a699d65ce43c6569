using Iced.Intel;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Translator;

/// <summary>Has the last word on how an instruction is translated, after <see cref="NativeSet"/>, which knows only its form.</summary>
/// <param name="isChecked">Whether what is translated is checked against the interpreter.</param>
internal sealed unsafe class KindChoice(CpuState* s, InstructionSet set, bool isChecked)
{
    /// <summary>What depends on the mode, the processor's model and the operands at hand.</summary>
    public void Refine(GuestInstruction i)
    {
        ref Instruction d = ref i.Decoded;
        uint mode = s->Mode;
        bool is64 = (mode & CodeMode.BitsMask) == CodeMode.Bits64;
        if (i.Kind == NativeKind.BitString && d.Op0Kind == OpKind.Register)
        {
            i.Kind = NativeKind.General;
        }
        bool user = (mode & CodeMode.User) != 0;
        int memory = i.Kind is NativeKind.LoadAddress or NativeKind.Nothing ? -1 : RegionCompiler.MemoryIndex(i);
        Support support = set[d.Code];
        bool refused = support != Support.Present && !(support == Support.Hint && i.Kind == NativeKind.Nothing);
        refused |= i.Kind switch
        {
            NativeKind.ClearInterruptFlag or NativeKind.SwapGs or NativeKind.AccessControl => user || (mode & CodeMode.Protected) == 0,
            // The interpreter would count it twice.
            NativeKind.Cpuid => isChecked,
            NativeKind.MoveFromSegment => d.Op0Kind != OpKind.Register,
            _ => false,
        };
        if (i.Kind == NativeKind.Vector)
        {
            bool avx = i.Form.Encoding != EncodingKind.Legacy;
            // In 32-bit code they concern eight registers.
            refused |= !is64 && i.Form.Mnemonic is Mnemonic.Vzeroall or Mnemonic.Vzeroupper;
            refused |= (mode & (CodeMode.NoSse | (avx ? CodeMode.InvalidAvx : CodeMode.InvalidSse))) != 0;
            if (InstructionSet.IsPassedOn(d.Code))
            {
                // Nothing could check it.
                refused |= (mode & CodeMode.InvalidAvx512) != 0 || isChecked;
                i.NeedsAvx512 = true;
            }
        }
        if (i.Kind is NativeKind.X87 or NativeKind.Mmx)
        {
            refused |= (mode & CodeMode.NoX87) != 0;
        }
        if (memory >= 0 || i.Kind == NativeKind.LoadAddress)
        {
            bool segment = d.MemorySegment is Register.FS or Register.GS;
            bool narrow = d.MemoryBase.GetSize() == 2 || d.MemoryIndex.GetSize() == 2 || d.MemoryDisplSize == 2;
            refused |= narrow || (!is64 && (segment || d.MemorySegment == Register.CS));
        }
        if (memory >= 0)
        {
            int bytes = d.MemorySize.GetSize();
            refused |= bytes is not (1 or 2 or 4 or 8 or 16 or 32 or 64) && !(bytes == 10 && i.Kind == NativeKind.X87);
        }
        if (i.Kind is NativeKind.General or NativeKind.Vector or NativeKind.Mmx)
        {
            refused |= RegionCompiler.ScratchNeeded(i) > (memory >= 0 ? 1 : 2) || (UsesHighByte(in d) && (memory >= 0 || UsesExtended(in d)));
        }
        if (refused)
        {
            i.Kind = NativeKind.None;
        }
    }

    private static bool UsesHighByte(in Instruction d)
    {
        for (int i = 0; i < d.OpCount; i++)
        {
            if (d.GetOpKind(i) == OpKind.Register && d.GetOpRegister(i) is >= Register.AH and <= Register.BH)
            {
                return true;
            }
        }
        return false;
    }

    /// <summary>Registers that need REX in the host's code: RSP among them.</summary>
    private static bool UsesExtended(in Instruction d)
    {
        for (int i = 0; i < d.OpCount; i++)
        {
            if (d.GetOpKind(i) == OpKind.Register && d.GetOpRegister(i).IsGPR() && d.GetOpRegister(i) is not (>= Register.AH and <= Register.BH)
                && (d.GetOpRegister(i).GetFullRegister() is Register.RSP or >= Register.R8))
            {
                return true;
            }
        }
        return false;
    }
}
