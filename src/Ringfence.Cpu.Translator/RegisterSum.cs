using Iced.Intel;

namespace Ringfence.Cpu.Translator;

/// <summary>What an instruction makes of a general register: another's value, or its own, plus a constant.</summary>
internal readonly record struct RegisterSum(int To, int From, long By)
{
    /// <summary>Null if it is no such instruction, or not of the whole register.</summary>
    public static RegisterSum? Of(in Instruction d, bool is64)
    {
        int bytes = is64 ? 8 : 4;
        if (d.Op0Kind != OpKind.Register || !d.Op0Register.IsGPR() || d.Op0Register.GetSize() != bytes)
        {
            return null;
        }
        int to = RegionCompiler.Number(d.Op0Register);
        switch (d.Mnemonic)
        {
            case Mnemonic.Add or Mnemonic.Sub when d.Op1Kind is OpKind.Immediate8to32 or OpKind.Immediate8to64 or OpKind.Immediate32 or OpKind.Immediate32to64:
                long by = is64 ? (long)d.GetImmediate(1) : (int)d.GetImmediate(1);
                return new RegisterSum(to, to, d.Mnemonic == Mnemonic.Add ? by : -by);
            case Mnemonic.Inc or Mnemonic.Dec:
                return new RegisterSum(to, to, d.Mnemonic == Mnemonic.Inc ? 1 : -1);
            case Mnemonic.Mov when d.Op1Kind == OpKind.Register && d.Op1Register.IsGPR():
                return new RegisterSum(to, RegionCompiler.Number(d.Op1Register), 0);
            case Mnemonic.Lea when d.MemoryIndex == Register.None && d.MemoryBase.IsGPR() && d.MemoryBase.GetSize() == bytes:
                return new RegisterSum(to, RegionCompiler.Number(d.MemoryBase), is64 ? (long)d.MemoryDisplacement64 : (int)d.MemoryDisplacement64);
            default:
                return null;
        }
    }
}
