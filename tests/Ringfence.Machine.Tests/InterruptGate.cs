using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Machine.Tests;

/// <summary>Interrupt handlers for guests in flat protected mode.</summary>
internal static class InterruptGate
{
    /// <summary>Emits a handler, to be jumped over.</summary>
    /// <param name="table">Address of the interrupt table.</param>
    /// <param name="handler">Emits what the handler does; it preserves registers. IRET follows.</param>
    /// <returns>A routine that puts the handler into the table. Clobbers EAX.</returns>
    public static Label Define(Assembler a, int table, byte vector, Action handler)
    {
        Label install = a.CreateLabel();
        Label body = a.CreateLabel();
        int gate = table + (vector * 8);
        // The assembler knows no absolute addresses: the routine calls over the handler and takes the return address.
        a.Label(ref install);
        a.call(body);
        handler();
        a.iretd();
        a.Label(ref body);
        a.pop(eax);
        a.mov(__word_ptr[gate], ax);
        a.mov(__word_ptr[gate + 2], cs);
        a.mov(__word_ptr[gate + 4], 0x8E00);
        a.shr(eax, 16);
        a.mov(__word_ptr[gate + 6], ax);
        a.ret();
        return install;
    }
}
