<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Command;

use Fervo\DeferredEventBundle\Command\FrontControllerCommand;
use Fervo\DeferredEventBundle\Tests\Support\Folder;
use PHPUnit\Framework\TestCase;
use Symfony\Component\Console\Tester\CommandTester;

/** The path that goes into the worker's configuration has to be right after the next deployment, too. */
final class FrontControllerCommandTest extends TestCase
{
    private const WITHIN = '/vendor/fervo/deferred-event-bundle/bin/fervo-run.php';

    /** @var array<string, mixed> */
    private array $server;

    protected function setUp(): void
    {
        $this->server = $_SERVER;
    }

    protected function tearDown(): void
    {
        $_SERVER = $this->server;
    }

    public function testItIsWithinTheApplicationByTheLinkThatTheConsoleWasCalledBy(): void
    {
        [$site, $release] = $this->site();

        self::assertSame($site.'/current'.self::WITHIN, $this->path($release, $site.'/current/bin/console', '/'));
        self::assertSame($site.'/current'.self::WITHIN, $this->path($release, 'bin/console', $site.'/current'));
        self::assertSame($site.'/current'.self::WITHIN, $this->path($release, './bin/console', $site.'/current'));
    }

    public function testOfAnotherConsoleItIsThatOfTheApplication(): void
    {
        [$site, $release] = $this->site();

        self::assertSame($release.self::WITHIN, $this->path($release, $site.'/elsewhere/bin/console', '/'));
        self::assertSame($release.self::WITHIN, $this->path($release, 'console', $site));
    }

    public function testWithoutComposersFolderItIsThePackagesOwn(): void
    {
        self::assertSame(\dirname(__DIR__, 2).'/bin/fervo-run.php', $this->path(Folder::create(), 'bin/console', '/'));
    }

    /** @return array{string, string} a folder with `current`, a link to a release, and that release */
    private function site(): array
    {
        $site = (string) realpath(Folder::create());
        $release = $site.'/releases/1';
        mkdir($release.'/vendor/fervo', 0700, true);
        mkdir($release.'/bin');
        mkdir($site.'/elsewhere/bin', 0700, true);
        symlink(\dirname(__DIR__, 2), $release.'/vendor/fervo/deferred-event-bundle');
        symlink($release, $site.'/current');

        return [$site, $release];
    }

    private function path(string $projectDir, string $console, string $pwd): string
    {
        $_SERVER['argv'] = [$console];
        $_SERVER['PWD'] = $pwd;
        $tester = new CommandTester(new FrontControllerCommand($projectDir));
        $tester->execute([]);

        return trim($tester->getDisplay());
    }
}
