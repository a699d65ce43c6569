using Ringfence.Cpu.Memory;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>What the software TLB must forget, whatever was done before (SDM 3A 4.10.4.1).</summary>
public sealed unsafe class TlbTests
{
    /// <summary>Against a model that knows each page's entry, with flushes of every kind in turn.</summary>
    [Fact]
    public void FlushesForgetWhatTheyMust()
    {
        const ulong LargePage = ~0x3F_FFFFUL;
        var random = new Random(1);
        using var tlb = new Tlb();
        Dictionary<ulong, bool> pages = [];
        for (int i = 0; i < 300_000; i++)
        {
            // Few regions, so that a page is filled many times between two flushes; addresses 16 MiB apart share an entry.
            ulong linear = 0xFFFF_8000_0000_0000 + ((ulong)random.Next(3) << 24) + ((ulong)random.Next(3) << 22) + ((ulong)random.Next(16) << 12);
            switch (random.Next(i % 2000 < 1900 ? 14 : 20))
            {
                case < 12:
                    bool global = random.Next(3) == 0;
                    TlbEntry* entry = tlb.Claim(linear, global, keyed: false);
                    entry->Read = linear;
                    foreach (ulong displaced in pages.Keys.Where(p => ((p ^ linear) & 0xFF_F000) == 0).ToArray())
                    {
                        pages.Remove(displaced);
                    }
                    pages[linear] = global;
                    break;
                case < 16:
                    tlb.FlushRange(linear, LargePage);
                    Forget(p => ((p ^ linear) & LargePage) == 0);
                    break;
                case 16:
                    tlb.FlushPage(linear);
                    Forget(p => p == linear || ((p ^ linear) & 0xFF_F000) == 0);
                    break;
                case < 19:
                    tlb.FlushLocal();
                    Forget(p => !pages[p]);
                    break;
                default:
                    tlb.FlushAll();
                    Forget(_ => true);
                    break;
            }
            if (i % 10 == 0)
            {
                Check();
            }
        }

        void Forget(Func<ulong, bool> which)
        {
            foreach (ulong page in pages.Keys.Where(which).ToArray())
            {
                pages.Remove(page);
            }
        }

        void Check()
        {
            int found = 0;
            for (int index = 0; index < Tlb.Entries; index++)
            {
                ulong tag = tlb.Table[index].Read;
                if (tag != Tlb.NoTag(index))
                {
                    found++;
                    Assert.True(pages.ContainsKey(tag), $"{tag:x} is still there");
                }
            }
            // More may be forgotten, but FlushRange leaves other pages alone.
            Assert.InRange(found, pages.Count / 2, pages.Count);
        }
    }
}
