using Iced.Intel;
using Ringfence.Cpu.Interpreter.Handlers;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter;

/// <summary>System instructions, flags, segment registers, far transfers.</summary>
internal sealed unsafe partial class Binder
{
    private bool BindSystem(in Instruction i, Op* op, out bool ends)
    {
        ends = false;
        if (BindFlags(in i, op) || BindSegments(in i, op, ref ends) || BindFar(in i, op, ref ends)
            || BindPaging(in i, op, ref ends) || BindState(in i, op, ref ends))
        {
            return true;
        }
        bool memory = i.OpCount > 0 && i.Op0Kind == OpKind.Memory;
        switch (i.Mnemonic)
        {
            case Mnemonic.Nop or Mnemonic.Pause or Mnemonic.Endbr32 or Mnemonic.Endbr64 or Mnemonic.Prefetchw or Mnemonic.Prefetch
                or Mnemonic.Reservednop: op->Handler = &SystemInstructions.Nop; return true;
            case Mnemonic.Ud2 or Mnemonic.Ud0 or Mnemonic.Ud1: op->Handler = &SystemInstructions.InvalidOpcode; ends = true; return true;
            case Mnemonic.Cpuid: op->Handler = &SystemInstructions.Cpuid; return true;
            case Mnemonic.Rdtsc: op->Handler = &SystemInstructions.Rdtsc; return true;
            case Mnemonic.Rdtscp: op->Handler = &SystemInstructions.Rdtscp; return true;
            case Mnemonic.Rdmsr: op->Handler = &SystemInstructions.Rdmsr; return true;
            case Mnemonic.Wrmsr: op->Handler = &SystemInstructions.Wrmsr; return true;
            case Mnemonic.In:
                op->Extra = i.Op1Kind == OpKind.Immediate8 ? (byte)1 : (byte)0;
                op->Handler = Pick.Width<InPort>(i.Op0Register.GetSize());
                return true;
            case Mnemonic.Out:
                op->Extra = i.Op0Kind == OpKind.Immediate8 ? (byte)1 : (byte)0;
                op->Handler = Pick.Width<OutPort>(i.Op1Register.GetSize());
                return true;
            case Mnemonic.Vmcall or Mnemonic.Vmmcall: op->Handler = &SystemInstructions.KvmHypercall; return true;
            case Mnemonic.Cli: op->Handler = &SystemInstructions.Cli; return true;
            case Mnemonic.Sti: op->Handler = &SystemInstructions.Sti; ends = true; return true;
            case Mnemonic.Hlt: op->Handler = &SystemInstructions.Hlt; ends = true; return true;
            case Mnemonic.Clts: op->Handler = &SystemInstructions.Clts; ends = true; return true;
            case Mnemonic.Lmsw:
                op->Handler = memory ? &SystemInstructions.Lmsw<MemoryValue> : &SystemInstructions.Lmsw<FirstRegister>;
                ends = true;
                return true;
            case Mnemonic.Smsw: return BindStoreSystem(in i, op, 2);
            case Mnemonic.Sldt: return ProtectedOnly(op) || BindStoreSystem(in i, op, 0);
            case Mnemonic.Str: return ProtectedOnly(op) || BindStoreSystem(in i, op, 1);
            case Mnemonic.Lgdt or Mnemonic.Lidt:
                op->Extra = i.Mnemonic == Mnemonic.Lidt ? (byte)1 : (byte)0;
                op->Immediate = i.Code is Code.Lgdt_m1632_16 or Code.Lidt_m1632_16 ? 2u : 4u;
                op->Handler = &SystemInstructions.LoadTable;
                return true;
            case Mnemonic.Sgdt or Mnemonic.Sidt:
                op->Extra = i.Mnemonic == Mnemonic.Sidt ? (byte)1 : (byte)0;
                op->Handler = &SystemInstructions.StoreTable;
                return true;
            case Mnemonic.Lldt or Mnemonic.Ltr:
                op->Extra = i.Mnemonic == Mnemonic.Ltr ? (byte)1 : (byte)0;
                op->Handler = memory ? &SystemInstructions.LoadSystemSegment<MemoryValue> : &SystemInstructions.LoadSystemSegment<FirstRegister>;
                return true;
            case Mnemonic.Wbinvd or Mnemonic.Wbnoinvd or Mnemonic.Invd: op->Handler = &SystemInstructions.PrivilegedNop; return true;
            case Mnemonic.Swapgs: op->Handler = &SystemInstructions.Swapgs; return true;
            case Mnemonic.Verr or Mnemonic.Verw:
                op->Extra = i.Mnemonic == Mnemonic.Verr ? (byte)0 : (byte)1;
                op->Handler = memory ? &SystemInstructions.Probe<MemoryValue, ushort> : &SystemInstructions.Probe<FirstRegister, ushort>;
                return true;
            case Mnemonic.Lar or Mnemonic.Lsl:
                op->Extra = i.Mnemonic == Mnemonic.Lar ? (byte)2 : (byte)3;
                op->Handler = i.Op1Kind == OpKind.Memory
                    ? Pick.Width<Probe<MemoryValue>>(i.Op0Register.GetSize()) : Pick.Width<Probe<SecondRegister>>(i.Op0Register.GetSize());
                return true;
            case Mnemonic.Arpl: op->Handler = memory ? &SystemInstructions.Arpl<MemoryValue> : &SystemInstructions.Arpl<FirstRegister>; return true;
            case Mnemonic.Fxsave or Mnemonic.Fxsave64 or Mnemonic.Fxrstor or Mnemonic.Fxrstor64:
                bool store = i.Mnemonic is Mnemonic.Fxsave or Mnemonic.Fxsave64;
                op->Extra = i.Mnemonic is Mnemonic.Fxsave64 or Mnemonic.Fxrstor64 ? (byte)8 : (byte)4;
                op->Handler = (_mode & CodeMode.NoX87) != 0 ? &SystemInstructions.DeviceNotAvailable
                    : store ? &StateImages.Fxsave : &StateImages.Fxrstor;
                return true;
        }
        return false;
    }

    private static bool BindFlags(in Instruction i, Op* op)
    {
        switch (i.Mnemonic)
        {
            case Mnemonic.Lahf: op->Handler = &FlagInstructions.Lahf; return true;
            case Mnemonic.Sahf: op->Handler = &FlagInstructions.Sahf; return true;
            case Mnemonic.Clc: op->Handler = &FlagInstructions.Clc; return true;
            case Mnemonic.Stc: op->Handler = &FlagInstructions.Stc; return true;
            case Mnemonic.Cmc: op->Handler = &FlagInstructions.Cmc; return true;
            case Mnemonic.Cld: op->Handler = &FlagInstructions.Cld; return true;
            case Mnemonic.Std: op->Handler = &FlagInstructions.Std; return true;
            case Mnemonic.Xlatb: op->Handler = &FlagInstructions.Xlat; return true;
            case Mnemonic.Salc: op->Handler = &FlagInstructions.Salc; return true;
            case Mnemonic.Daa: op->Handler = &FlagInstructions.DecimalAdjust<Add>; return true;
            case Mnemonic.Das: op->Handler = &FlagInstructions.DecimalAdjust<Sub>; return true;
            case Mnemonic.Aaa: op->Handler = &FlagInstructions.AsciiAdjust<Add>; return true;
            case Mnemonic.Aas: op->Handler = &FlagInstructions.AsciiAdjust<Sub>; return true;
            case Mnemonic.Aam: op->Handler = &FlagInstructions.Aam; return true;
            case Mnemonic.Aad: op->Handler = &FlagInstructions.Aad; return true;
            case Mnemonic.Bound: op->Handler = i.Op0Register.GetSize() == 2 ? &FlagInstructions.Bound<ushort> : &FlagInstructions.Bound<uint>; return true;
        }
        return false;
    }

    private bool BindSegments(in Instruction i, Op* op, ref bool ends)
    {
        switch (i.Mnemonic)
        {
            case Mnemonic.Mov when i.Op0Kind == OpKind.Register && i.Op0Register.IsSegmentRegister():
                op->Extra = (byte)(i.Op0Register - Register.ES);
                ends = true;
                op->Handler = op->Extra == 1 ? &SystemInstructions.InvalidOpcode
                    : i.Op1Kind == OpKind.Memory ? &SystemInstructions.MovToSegment<MemoryValue> : &SystemInstructions.MovToSegment<SecondRegister>;
                return true;
            case Mnemonic.Mov when i.Op1Kind == OpKind.Register && i.Op1Register.IsSegmentRegister():
                op->Extra = (byte)(i.Op1Register - Register.ES);
                op->Handler = i.Op0Kind == OpKind.Memory ? &SystemInstructions.MovFromSegmentM : Pick.Width<FromSegment>(i.Op0Register.GetSize());
                return true;
            case Mnemonic.Mov when i.Op0Kind == OpKind.Register && (i.Op0Register.IsCR() || i.Op0Register.IsDR()):
                op->Extra = (byte)(i.Op0Register - (i.Op0Register.IsCR() ? Register.CR0 : Register.DR0));
                ends = true;
                op->Handler = i.Op0Register.IsDR() ? op->Extra < 8 ? &SystemInstructions.MovToDebug : &SystemInstructions.InvalidOpcode
                    : IsControlRegister(op->Extra) ? &SystemInstructions.MovToControl : &SystemInstructions.InvalidOpcode;
                return true;
            case Mnemonic.Mov when i.Op1Kind == OpKind.Register && (i.Op1Register.IsCR() || i.Op1Register.IsDR()):
                op->Extra = (byte)(i.Op1Register - (i.Op1Register.IsCR() ? Register.CR0 : Register.DR0));
                op->Handler = i.Op1Register.IsDR() ? op->Extra < 8 ? &SystemInstructions.MovFromDebug : &SystemInstructions.InvalidOpcode
                    : IsControlRegister(op->Extra) ? &SystemInstructions.MovFromControl : &SystemInstructions.InvalidOpcode;
                return true;
            case Mnemonic.Pop when i.Op0Kind == OpKind.Register && i.Op0Register.IsSegmentRegister():
                op->Extra = (byte)(i.Op0Register - Register.ES);
                op->Handler = Pick.Stack<PopSegment>(StackOperandSize(in i), _mode);
                ends = true;
                return true;
            case Mnemonic.Lds or Mnemonic.Les or Mnemonic.Lfs or Mnemonic.Lgs or Mnemonic.Lss:
                op->Extra = i.Mnemonic switch
                {
                    Mnemonic.Les => 0,
                    Mnemonic.Lss => 2,
                    Mnemonic.Lds => 3,
                    Mnemonic.Lfs => 4,
                    _ => 5,
                };
                op->Handler = Pick.Width<LoadPointer>(i.Op0Register.GetSize());
                ends = true;
                return true;
        }
        return false;
    }

    private bool BindFar(in Instruction i, Op* op, ref bool ends)
    {
        ends = true;
        switch (i.Mnemonic)
        {
            case Mnemonic.Popf or Mnemonic.Popfd or Mnemonic.Popfq:
                // It leaves the block itself when it changes what the outer loop must know of.
                op->Handler = Pick.Stack<PopFlags>(StackOperandSize(in i), _mode);
                ends = false;
                return true;
            case Mnemonic.Iret or Mnemonic.Iretd or Mnemonic.Iretq:
                op->Extra = i.Mnemonic == Mnemonic.Iretq ? (byte)8 : i.Mnemonic == Mnemonic.Iretd ? (byte)4 : (byte)2;
                op->Handler = &SystemInstructions.Iret;
                return true;
            case Mnemonic.Retf:
                op->Extra = i.Code switch
                {
                    Code.Retfw or Code.Retfw_imm16 => 2,
                    Code.Retfd or Code.Retfd_imm16 => 4,
                    _ => 8,
                };
                op->Handler = &SystemInstructions.FarReturn;
                return true;
            case Mnemonic.Int:
                op->Handler = &SystemInstructions.Int;
                return true;
            case Mnemonic.Int3 or Mnemonic.Int1:
                op->Immediate = i.Mnemonic == Mnemonic.Int3 ? 3u : 1u;
                op->Extra = i.Mnemonic == Mnemonic.Int1 ? SystemInstructions.Privileged : (byte)1;
                op->Handler = &SystemInstructions.Int;
                return true;
            case Mnemonic.Into:
                op->Immediate = 4;
                op->Extra = 1;
                op->Handler = &SystemInstructions.Into;
                return true;
            case Mnemonic.Syscall: op->Handler = &SystemInstructions.Syscall; return true;
            case Mnemonic.Sysret or Mnemonic.Sysretq:
                op->Extra = i.Mnemonic == Mnemonic.Sysretq ? (byte)8 : (byte)4;
                op->Handler = &SystemInstructions.Sysret;
                return true;
            case Mnemonic.Sysenter: op->Handler = &SystemInstructions.Sysenter; return true;
            case Mnemonic.Sysexit or Mnemonic.Sysexitq:
                op->Extra = i.Mnemonic == Mnemonic.Sysexitq ? (byte)8 : (byte)4;
                op->Handler = &SystemInstructions.Sysexit;
                return true;
            case Mnemonic.Jmp or Mnemonic.Call when i.Op0Kind is OpKind.FarBranch16 or OpKind.FarBranch32:
                bool wide = i.Op0Kind == OpKind.FarBranch32;
                op->Extra = i.Mnemonic == Mnemonic.Call ? (byte)1 : (byte)0;
                op->Source = wide ? (ushort)4 : (ushort)2;
                op->Immediate = ((ulong)i.FarBranchSelector << 32) | (wide ? i.FarBranch32 : i.FarBranch16);
                op->Handler = &SystemInstructions.FarDirect;
                return true;
            case Mnemonic.Jmp or Mnemonic.Call when IsFar(in i):
                op->Extra = i.Mnemonic == Mnemonic.Call ? (byte)1 : (byte)0;
                op->Source = (ushort)(i.MemorySize.GetSize() - 2);
                op->Handler = &SystemInstructions.FarIndirect;
                return true;
        }
        ends = false;
        return false;
    }

    private static bool BindPaging(in Instruction i, Op* op, ref bool ends)
    {
        switch (i.Mnemonic)
        {
            case Mnemonic.Invlpg: op->Handler = &SystemInstructions.Invlpg; ends = true; return true;
            case Mnemonic.Invpcid:
                op->Handler = i.Code == Code.Invpcid_r64_m128 ? &SystemInstructions.Invpcid<ulong> : &SystemInstructions.Invpcid<uint>;
                ends = true;
                return true;
            case Mnemonic.Stac: op->Handler = &SystemInstructions.SetAc; return true;
            case Mnemonic.Clac: op->Handler = &SystemInstructions.ClearAc; return true;
            case Mnemonic.Rdpkru: op->Handler = &SystemInstructions.Rdpkru; return true;
            case Mnemonic.Wrpkru: op->Handler = &SystemInstructions.Wrpkru; return true;
        }
        return false;
    }

    private static bool IsControlRegister(int number) => number is 0 or 2 or 3 or 4 or 8;

    /// <summary>Binds #UD outside protected mode.</summary>
    private bool ProtectedOnly(Op* op)
    {
        op->Handler = &SystemInstructions.InvalidOpcode;
        Refused = (_mode & CodeMode.Protected) == 0;
        return Refused;
    }

    private static bool BindStoreSystem(in Instruction i, Op* op, byte which)
    {
        op->Extra = which;
        op->Handler = i.Op0Kind == OpKind.Memory ? &SystemInstructions.StoreSystemM : Pick.Width<StoreSystem>(i.Op0Register.GetSize());
        return true;
    }
}
